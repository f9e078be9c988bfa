"""What a backbone's tokenizer does with other people's text, and which tokens end a reply."""

from typing import Any

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from rmas.backbone import HFBackbone
from zoo import FAMILIES, backbone


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> HFBackbone:
    return backbone(str(request.param))


def test_eos_ids_are_those_of_the_model_and_the_tokenizer(model: HFBackbone) -> None:
    assert model.eos_ids == {model.tokenizer.hf.eos_token_id, model.model.generation_config.eos_token_id}


def test_several_eos_ids_of_a_generation_config_all_end_a_reply() -> None:
    config = AutoConfig.for_model("llama", hidden_size=8, num_attention_heads=1, num_hidden_layers=1, vocab_size=300)
    model: Any = AutoModelForCausalLM.from_config(config)
    model.generation_config.eos_token_id = [7, 9]
    tokenizer = backbone("llama").tokenizer
    assert HFBackbone(model, tokenizer, name="llama").eos_ids == {7, 9, tokenizer.hf.eos_token_id}


def test_no_text_can_spell_a_special_token(model: HFBackbone) -> None:
    added = model.tokenizer.hf.added_tokens_encoder
    assert len(added) >= 6
    text = "Say " + " or ".join(added) + "!" + "".join(added)
    ids = model.encode(text)
    assert not set(ids) & set(added.values())
    assert model.decode(ids) == text


def test_template_text_does_spell_special_tokens(model: HFBackbone) -> None:
    added = model.tokenizer.hf.added_tokens_encoder
    assert model.tokenizer.encode_template("".join(added)) == list(added.values())


@pytest.mark.parametrize("text", ["", " ", "plain", "  two\n\nlines\t", "naïve – 蜘蛛 🕷️", "\x00\ufffd"])
def test_text_comes_back_as_it_went_in(model: HFBackbone, text: str) -> None:
    assert model.decode(model.encode(text)) == text
