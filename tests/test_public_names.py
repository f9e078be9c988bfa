"""The public namespace: sorted, complete, and nothing else."""

import rmas


def test_the_public_names_are_sorted() -> None:
    assert rmas.__all__ == sorted(rmas.__all__)


def test_every_public_name_resolves() -> None:
    for name in rmas.__all__:
        assert getattr(rmas, name).__module__.startswith("rmas"), name


def test_nothing_else_is_public() -> None:
    assert dir(rmas) == sorted(rmas.__all__)
    assert rmas.__all__ == sorted(rmas._HOMES)
    modules = {name for name, value in vars(rmas).items() if getattr(value, "__package__", "").startswith("rmas")}
    public = {name for name in vars(rmas) if not name.startswith("_")} - modules
    assert public <= {*rmas.__all__, "Any", "TYPE_CHECKING", "import_module"}
