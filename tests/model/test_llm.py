"""The wrapped language model: GGUF files are converted once, several templates by name each take parts."""

import json

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from model.errors import CheckpointError
from model.llm import llm_directory, load_llm, load_tokenizer
from tests.model.templates import FAMILIES, quartet_config
from tests.support.tiny import CHATML, LLMS, SPECIAL_TOKENS, build_llm, build_tokenizer


def write_gguf(path, model, tokenizer):
    """`model`, a tiny Llama with tied embeddings, as llama.cpp's converter writes it, in float32."""
    config = model.config
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    described = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(described["vocab"], key=described["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in SPECIAL_TOKENS else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in described["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_chat_template(CHATML)
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "model.layers": "blk",
    }
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        values = tensor.float().numpy()
        for heads, part in ((config.num_attention_heads, "q_proj"), (config.num_key_value_heads, "k_proj")):
            if part in name:
                # llama.cpp keeps the two halves of each rotary pair side by side.
                rows, width = values.shape
                values = values.reshape(heads, 2, rows // heads // 2, width).swapaxes(1, 2).reshape(rows, width)
        for old, new in names.items():
            name = name.replace(old, new)
        writer.add_tensor(name, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@torch.no_grad()
def test_gguf_is_converted_once_and_keeps_its_answers(tmp_path, cache, monkeypatch):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(LLMS["llama"], dtype=torch.bfloat16).eval()
    write_gguf(tmp_path / "tiny.gguf", model, build_tokenizer())
    before = logging.get_verbosity()
    directory = llm_directory(tmp_path / "tiny.gguf", "ab" * 32)
    assert logging.get_verbosity() == before
    assert directory.is_relative_to(cache)
    assert directory.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in directory.parent.iterdir()] == [directory.name]

    converted = load_llm(directory, "auto")
    assert converted.dtype == torch.bfloat16
    assert converted.config.tie_word_embeddings
    for name, tensor in model.state_dict().items():
        assert torch.equal(converted.state_dict()[name], tensor), name
    tokenizer, original = AutoTokenizer.from_pretrained(directory), build_tokenizer()
    text = "<|im_start|>user\nThe cat 12 sat ☀️<|im_end|>\n"
    assert tokenizer(text)["input_ids"] == original(text)["input_ids"]
    assert tokenizer.chat_template == CHATML

    monkeypatch.setattr("model.llm._convert_gguf", lambda *args: pytest.fail("converted again"))
    assert llm_directory(tmp_path / "tiny.gguf", "ab" * 32) == directory


def test_damaged_gguf_is_named_and_leaves_nothing(tmp_path, cache):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + b"\0" * 40)
    with pytest.raises(CheckpointError, match=r"bad\.gguf: cannot be converted"):
        llm_directory(tmp_path / "bad.gguf", "cd" * 32)
    assert list((cache / "llm").iterdir()) == []


def test_every_named_template_takes_parts(tmp_path):
    llm = build_llm(tmp_path)
    tokenizer = build_tokenizer()
    tokenizer.chat_template = {"default": CHATML, "tool_use": FAMILIES["llama3"].template}
    tokenizer.save_pretrained(llm)
    config = quartet_config(build_tokenizer())
    ours = load_tokenizer(llm, config)
    messages = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}]}]
    for name in ("default", "tool_use"):
        assert "a<|image|>" in ours.apply_chat_template(messages, tokenize=False, chat_template=name)


def test_placeholder_ids_do_not_depend_on_the_order_of_names(tmp_path):
    """JSON files sort names; the ids were given in the order of the recipe."""
    llm = build_llm(tmp_path)
    config = quartet_config(build_tokenizer())
    config.modalities = dict(reversed(config.modalities.items()))
    assert load_tokenizer(llm, config).convert_tokens_to_ids(["<|image|>", "<|audio|>"]) == [320, 321]
