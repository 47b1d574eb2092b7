#!/usr/bin/env python3
# Writes the references of --chat-template: chats, and their tokens and trained ones by transformers. usage: see --help
"""Writes tests/data/data/tokenizers/chats.json: chats with their tokens by transformers' apply_chat_template, and which of
them the assistant says.

    pip install transformers==5.24.0 tokenizers==0.23.3 && scripts/make_chat_references.py

Tokenizers are those of make_tokenizer_references.py, Llama 3's with the two tokens of headers behind its others. The
templates here give the same text as the published ones for the roles system, user and assistant.
"""
import json
import pathlib
import tempfile

from transformers import PreTrainedTokenizerFast

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data" / "data" / "tokenizers"

CHATML = """{%- for m in messages -%}
{{ '<|im_start|>' + m.role + '\\n' }}
{%- if m.role == 'assistant' -%}{%- generation -%}{{ m.content + '<|im_end|>' }}{%- endgeneration -%}
{%- else -%}{{ m.content + '<|im_end|>' }}{%- endif -%}
{{ '\\n' }}
{%- endfor -%}"""
QWEN_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
QWEN = ("{%- if messages[0].role != 'system' -%}{{ '<|im_start|>system\\n" + QWEN_SYSTEM + "<|im_end|>\\n' }}{%- endif -%}\n"
        + CHATML)
LLAMA3_TURNS = """{%- for m in turns -%}
{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' }}
{%- if m.role == 'assistant' -%}{%- generation -%}{{ m.content | trim + '<|eot_id|>' }}{%- endgeneration -%}
{%- else -%}{{ m.content | trim + '<|eot_id|>' }}{%- endif -%}
{%- endfor -%}"""
LLAMA3 = "{{ bos_token }}{%- set turns = messages -%}\n" + LLAMA3_TURNS
DATES = "Cutting Knowledge Date: December 2023\\nToday Date: 26 Jul 2024\\n\\n"
LLAMA3_1 = """{{ bos_token }}
{%- set has_system = messages[0].role == 'system' -%}
{%- set turns = messages[1:] if has_system else messages -%}
{{ '<|start_header_id|>system<|end_header_id|>\\n\\n""" + DATES + """' }}
{%- if has_system -%}{{ messages[0].content | trim }}{%- endif -%}
{{ '<|eot_id|>' }}
""" + LLAMA3_TURNS

CHATS = [
    [("user", "Hi"), ("assistant", "Hello there, the nodes train.")],
    [("system", "Be brief."), ("user", "What is 12345 + 1?"), ("assistant", "12346"), ("user", "Sure?"), ("assistant", "Yes.")],
    [("user", "  blanks around \n\n"), ("assistant", "\n\nNew lines first,\n    then code;\n"), ("user", "\u3000wide\u00a0"), ("assistant", "")],
    [("system", ""), ("user", "e\u0301 o\u0308 \uac00\u11a8 \U0001f600 \u4f60\u597d"), ("assistant", " \u212b A\u030a \u0301x \U0001f44b")],
    [("user", "no answer")],
    [("assistant", "\ta tab\t"), ("assistant", "and again\r\n\r\n"), ("system", "late"), ("assistant", "\n")],
]


def with_headers(content: dict) -> dict:
    for name in ("<|start_header_id|>", "<|end_header_id|>"):
        number = max(token["id"] for token in content["added_tokens"]) + 1
        content["added_tokens"].append(content["added_tokens"][-1] | {"content": name, "id": number})
    return content


def loaded(content: dict, **tokens: str) -> PreTrainedTokenizerFast:
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        return PreTrainedTokenizerFast(tokenizer_file=file.name, clean_up_tokenization_spaces=False, **tokens)


def main() -> None:
    qwen = loaded(json.loads((FOLDER / "qwen" / "tokenizer.json").read_text(encoding="utf-8")))
    llama = loaded(with_headers(json.loads((FOLDER / "llama3" / "tokenizer.json").read_text(encoding="utf-8"))),
                   bos_token="<|begin_of_text|>")
    lines = []
    for name, tokenizer, template in (("chatml", qwen, CHATML), ("qwen2.5", qwen, QWEN), ("llama3", llama, LLAMA3),
                                      ("llama3.1", llama, LLAMA3_1)):
        for chat in CHATS:
            messages = [{"role": role, "content": content} for role, content in chat]
            made = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=True, return_dict=True,
                                                 return_assistant_tokens_mask=True)
            lines.append(json.dumps({"template": name, "messages": messages, "ids": made["input_ids"],
                                     "trained": made["assistant_masks"]}))
    (FOLDER / "chats.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
    print(f"{len(lines)} chats")


if __name__ == "__main__":
    main()
