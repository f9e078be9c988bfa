"""Training-free starts: the right pairs, the right map, computed once."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import BPE
from torch.nn.functional import cosine_similarity
from transformers import PreTrainedTokenizerFast

import rmas.alignment
from rmas.alignment import Aligner, Pairs, fingerprint, next_token_pairs, shared_rows
from rmas.backbone import HFBackbone, TextTokenizer, tiny_backbone
from rmas.errors import SourceError
from rmas.link import LINKS, Link, fit_affine, mean_norm, write_affine
from rmas.pattern import Edge
from zoo import backbone, snapshot

TEXTS = ["one two three", "a", "four, five and six", "seven"] * 3  # more than one batch, of unequal lengths
EDGE = Edge("a", "b")


def sentencepiece_like(model: HFBackbone) -> HFBackbone:
    """The same weights under a vocabulary that spells spaces ▁, in an order of its own."""
    pieces = ["<unk>", "<s>", "</s>", *(chr(code) for code in range(122, 32, -1)), "▁", "é", "▁the", "<0x0A>"]
    hf = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[])),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )
    return HFBackbone(model.model, TextTokenizer(hf), name="pieces")


def test_the_strings_of_a_vocabulary_are_what_its_tokens_stand_for() -> None:
    byte_level = backbone("llama").tokenizer.strings
    assert {" ", "a", "\n"} <= byte_level.keys()
    assert byte_level[" "] == backbone("llama").encode(" ")[0]
    assert not any(token in byte_level for token in backbone("llama").tokenizer.hf.get_added_vocab())
    pieces = sentencepiece_like(backbone("llama")).tokenizer.strings
    assert {" ", "a", " the", "é"} <= pieces.keys()
    assert not {"<s>", "</s>", "<unk>"} & pieces.keys()


def test_the_rows_of_two_families_pair_the_same_strings() -> None:
    source, target = backbone("llama"), backbone("gemma3_text")
    pairs = shared_rows(source, target)
    strings = sorted(source.tokenizer.strings.keys() & target.tokenizer.strings.keys())
    assert len(pairs.x_ND) == len(pairs.y_NE) == len(strings) == 128  # single bytes that are characters
    rows = {tuple(x.tolist()): y for x, y in zip(pairs.x_ND, pairs.y_NE, strict=True)}
    for string in strings:
        x = source.embed(torch.tensor(source.encode(string)))[0].float()
        y = target.embed(torch.tensor(target.encode(string)))[0].float()  # through the module: Gemma scales there
        assert torch.equal(rows[tuple(x.tolist())], y)


def test_the_rows_of_unlike_vocabularies_pair_the_same_strings() -> None:
    source, target = backbone("llama"), sentencepiece_like(backbone("qwen2"))
    pairs = shared_rows(source, target)
    ours, theirs = source.tokenizer.strings, target.tokenizer.strings
    strings = [string for string in ours if string in theirs]
    assert set(strings) == {chr(code) for code in range(32, 123)}  # the space is written Ġ here and ▁ there
    assert ours != theirs
    for i, string in enumerate(strings):
        assert torch.equal(pairs.x_ND[i], source.embed(torch.tensor(ours[string])).float())
        assert torch.equal(pairs.y_NE[i], target.embed(torch.tensor(theirs[string])).float())


def test_common_strings_weigh_more_than_rare_ones() -> None:
    source, target = backbone("llama"), sentencepiece_like(backbone("qwen2"))
    weights = shared_rows(source, target).w_N
    assert weights is not None
    ours, theirs = source.tokenizer.strings, target.tokenizer.strings
    ranks = [min(ours[string], theirs[string]) for string in ours if string in theirs]
    assert weights.tolist() == pytest.approx([1 / (10 + rank) for rank in ranks])


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt2"])
def test_next_token_pairs_hold_each_state_and_the_embedding_that_follows(family: str) -> None:
    model = backbone(family)
    x, y = [], []
    for text in sorted(TEXTS, key=len):  # shortest first, as they are batched
        ids = torch.tensor([model.tokenizer.bos + model.encode(text)])
        h_BLD, _ = model.extend(model.start(cached=False), model.embed(ids))
        for position in range(ids.shape[1] - 1):
            x.append(h_BLD[0, position])
            y.append(model.embed(ids[0, position + 1]))
    expected = Pairs(torch.stack(x).float(), torch.stack(y).float())
    pairs = next_token_pairs(model, TEXTS)
    torch.testing.assert_close(pairs.x_ND, expected.x_ND, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(pairs.y_NE, expected.y_NE, rtol=0, atol=0)


def links(*, d_a: int = 32, d_b: int = 48) -> tuple[dict[str, Link], dict[Edge, Link]]:
    torch.manual_seed(0)  # of what no fit decides
    return {"a": Link("mlp_ln_res", "inner", d_a, d_a)}, {EDGE: Link("linear", "outer", d_a, d_b)}


def count_fits(monkeypatch: pytest.MonkeyPatch) -> list[Link]:
    """From now on, the links whose start is computed."""
    computed: list[Link] = []

    def spy(link: Link, *rest: Any) -> None:
        computed.append(link)
        write_affine(link, *rest)

    monkeypatch.setattr(rmas.alignment, "write_affine", spy)
    return computed


@pytest.fixture(autouse=True)
def short_calibration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Any text will do, and a short one is quicker."""
    path = tmp_path / "calibration.txt"
    path.write_text("\n---\n".join(TEXTS), encoding="utf-8")
    monkeypatch.setattr(rmas.alignment, "CALIBRATION", path)
    return path


def test_a_start_is_computed_once_and_then_read_from_the_cache(
    tmp_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbones = {"a": backbone("llama"), "b": backbone("qwen2")}
    computed = count_fits(monkeypatch)
    first, second = links(), links()
    Aligner(backbones, cache=tmp_cache).write(*first)
    assert len(computed) == 2
    Aligner(backbones, cache=tmp_cache).write(*second)
    assert len(computed) == 2
    for one, other in ((first[0]["a"], second[0]["a"]), (first[1][EDGE], second[1][EDGE])):
        assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())
    assert sorted(path.suffix for path in (tmp_cache / "starts").iterdir()) == [".safetensors", ".safetensors"]


def test_a_cached_start_leaves_to_chance_what_the_fit_leaves_to_it(tmp_cache: Path) -> None:
    """Else a seed's links would be those of whichever seed came first on this machine."""
    backbones = {"a": backbone("llama"), "b": backbone("qwen2")}
    first, second = (Link("mlp_ln_res", "inner", 32, 32) for _ in range(2))
    drawn = second.proj1.weight.clone()
    for link in (first, second):
        Aligner(backbones, cache=tmp_cache).write({"a": link}, {})
    assert torch.equal(second.proj1.weight, drawn)
    assert not torch.equal(second.proj1.weight, first.proj1.weight)
    assert first.post_norm is not None
    assert second.post_norm is not None
    assert torch.equal(second.post_norm.weight, first.post_norm.weight)
    assert not torch.equal(second.post_norm.weight, torch.ones(32))


def test_a_cached_start_fits_a_link_with_more_constants_beside_it(tmp_cache: Path) -> None:
    backbones = {"a": backbone("llama"), "b": backbone("qwen2")}
    short, long = (Link("linear+constant", "outer", 32, 48, latent_steps=steps) for steps in (4, 12))
    for link in (short, long):
        Aligner(backbones, cache=tmp_cache).write({}, {EDGE: link})
    assert torch.equal(short.proj1.weight, long.proj1.weight)
    assert long.message_MD is not None
    assert long.message_MD.shape == (12, 48)


def test_the_calibration_text_is_read_once_for_roles_that_share_a_backbone(
    tmp_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []

    def spy(model: HFBackbone, texts: list[str]) -> Pairs:
        reads.append(model.name)
        return next_token_pairs(model, texts)

    monkeypatch.setattr(rmas.alignment, "next_token_pairs", spy)
    inner = {role: Link(design, "inner", 32, 32) for role, design in (("a", "mlp"), ("b", "linear"))}
    Aligner({"a": backbone("llama"), "b": backbone("llama")}, cache=tmp_cache).write(inner, {})
    assert reads == ["tiny:llama"]


def test_another_backbone_text_or_design_is_another_start(
    tmp_cache: Path, monkeypatch: pytest.MonkeyPatch, short_calibration: Path
) -> None:
    computed = count_fits(monkeypatch)
    Aligner({"a": backbone("llama"), "b": backbone("qwen2")}, cache=tmp_cache).write(*links())
    Aligner({"a": backbone("llama", 1), "b": backbone("qwen2")}, cache=tmp_cache).write(*links())
    assert len(computed) == 4
    Aligner({"a": backbone("llama")}, cache=tmp_cache).write({"a": Link("mlp", "inner", 32, 32)}, {})
    assert len(computed) == 5
    short_calibration.write_text("another text", encoding="utf-8")
    Aligner({"a": backbone("llama"), "b": backbone("qwen2")}, cache=tmp_cache).write(*links())
    assert len(computed) == 6  # the outer link does not depend on the text


def test_a_damaged_start_in_the_cache_is_computed_again(tmp_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbones = {"a": backbone("llama"), "b": backbone("qwen2")}
    inner, outer = links()
    Aligner(backbones, cache=tmp_cache).write(inner, outer)
    before = snapshot(inner["a"].state_dict())
    for path in (tmp_cache / "starts").iterdir():
        path.write_bytes(path.read_bytes()[:50])
    computed = count_fits(monkeypatch)
    Aligner(backbones, cache=tmp_cache).write(inner, outer)
    assert len(computed) == 2
    assert all(torch.equal(before[name], tensor) for name, tensor in inner["a"].state_dict().items())
    assert all(load_file(path) for path in (tmp_cache / "starts").iterdir())


def test_a_full_disk_is_one_line_and_leaves_no_part(tmp_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        write(path, content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SourceError, match=r"cannot be written \(No space left on device\)\. Free some room or pass"):
        Aligner({"a": backbone("llama"), "b": backbone("qwen2")}, cache=tmp_cache).write(*links())
    assert list((tmp_cache / "starts").iterdir()) == []


@pytest.mark.parametrize("design", LINKS)
def test_an_outer_link_between_two_copies_of_a_model_is_close_to_the_identity(design: str, tmp_cache: Path) -> None:
    model = backbone("llama")
    outer = {EDGE: Link(design, "outer", 32, 32)}
    Aligner({"a": model, "b": model}, cache=tmp_cache).write({}, outer)
    rows, _, weights = shared_rows(model, model)
    assert cosine_similarity(outer[EDGE](rows), rows).mean() > 0.95
    assert mean_norm(outer[EDGE](rows).detach(), weights) == pytest.approx(mean_norm(rows, weights), rel=1e-3)


def test_an_outer_link_lands_near_the_receivers_embedding_of_the_same_string(tmp_cache: Path) -> None:
    source, target = backbone("gpt2"), backbone("mistral")  # 32 dimensions hold a map to 24 loosely
    outer = {EDGE: Link("linear", "outer", 32, 24)}
    Aligner({"a": source, "b": target}, cache=tmp_cache).write({}, outer)
    pairs = shared_rows(source, target)
    fit = fit_affine(*pairs)
    expected = fit(pairs.x_ND) * (mean_norm(pairs.y_NE, pairs.w_N) / mean_norm(fit(pairs.x_ND), pairs.w_N))
    torch.testing.assert_close(outer[EDGE](pairs.x_ND).double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("design", LINKS)
def test_an_inner_link_returns_vectors_of_the_embeddings_mean_norm(design: str, tmp_cache: Path) -> None:
    model = backbone("gemma3_text")
    inner = {"a": Link(design, "inner", 40, 40)}
    Aligner({"a": model}, cache=tmp_cache).write(inner, {})
    pairs = next_token_pairs(model, TEXTS)
    assert mean_norm(inner["a"](pairs.x_ND).detach()) == pytest.approx(mean_norm(pairs.y_NE), rel=1e-3)


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_the_fingerprint_is_the_same_in_float32_and_bfloat16(family: str) -> None:
    model = tiny_backbone(family, dtype=torch.bfloat16)
    narrow = fingerprint(model)
    model.model.float()
    assert fingerprint(HFBackbone(model.model, model.tokenizer, name="wide")) == narrow


def test_the_fingerprint_tells_weights_and_vocabularies_apart() -> None:
    models = [backbone("llama"), backbone("llama", 1), backbone("qwen3"), sentencepiece_like(backbone("llama"))]
    assert len({fingerprint(model) for model in models}) == 4
    assert fingerprint(tiny_backbone("llama")) == fingerprint(backbone("llama"))


def test_the_fingerprint_sees_a_fine_tuning_that_leaves_the_embeddings_alone() -> None:
    tuned = tiny_backbone("llama")
    with torch.no_grad():
        tuned.model.model.layers[1].self_attn.q_proj.weight[0, 0] += 0.5
    assert fingerprint(tuned) != fingerprint(backbone("llama"))
