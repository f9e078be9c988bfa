"""`rmas push BUNDLE ORG/NAME`: a bundle onto the hub, with its card."""

from pathlib import Path
from typing import Annotated

import typer


def push(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder, as training leaves it.")],
    repository: Annotated[str, typer.Argument(metavar="ORG/NAME", help="Its name on the hub; made if it is new.")],
    private: Annotated[bool, typer.Option("--private", help="A new repository is for its owners alone.")] = False,
) -> None:
    """Publish a bundle on the Hugging Face hub, with the token that huggingface_hub finds."""
    from rmas.publish import publish

    published = publish(bundle, repository, private=private)
    print(f"{published.url}: {', '.join(published.files)}")
    print(f'rmas ask {published.name} "Your question"')
