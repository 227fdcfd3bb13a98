"""Chat templates that behave as those of model families do, written for these tests, with the control tokens of the
small student's tokenizer: `<|im_start|>` (also its beginning-of-sequence token), `<|im_end|>` and `<repo_name>`."""

from __future__ import annotations

_TURN = "{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
_ANSWER = "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
_SPLIT_REASONING = """
{%- set content, reasoning = m.content, '' %}
{%- if m.role == 'assistant' and '</think>' in content %}
{%- set reasoning = content.split('</think>')[0].split('<think>')[-1].strip('\\n') %}
{%- set content = content.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
"""

CHAT_TEMPLATES: dict[str, str] = {
    # A system message of the family's own where none is sent.
    "default system message": (
        "{%- if messages[0].role != 'system' %}{{- '<|im_start|>system\\nI am Tiny.<|im_end|>\\n' }}{%- endif %}"
        "{%- for m in messages %}" + _TURN + "{%- endfor %}" + _ANSWER
    ),
    # Llama 3.2: today's date.
    "states the date": (
        "{%- if not date_string is defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- endif %}"
        "{{- bos_token + 'Today Date: ' + date_string + '\\n' }}"
        "{%- for m in messages %}" + _TURN + "{%- endfor %}" + _ANSWER
    ),
    # Granite: the date in words, from a macro, and reasoning that is off by default.
    "states the date in a macro": (
        "{%- macro head() %}{{- 'Today is ' + strftime_now('%B %d, %Y') + ('. Think!' if thinking else '.') }}"
        "{%- endmacro %}{{- head() + '\\n' }}{%- for m in messages %}" + _TURN + "{%- endfor %}" + _ANSWER
    ),
    # Qwen 3: an empty think block before an answer, in the prompt only where thinking is off.
    "may think": (
        "{%- for m in messages %}" + _SPLIT_REASONING + "{{- '<|im_start|>' + m.role + '\\n' }}"
        "{%- if m.role == 'assistant' and loop.last %}{{- '<think>\\n' + reasoning + '\\n</think>\\n\\n' }}{%- endif %}"
        "{{- content + '<|im_end|>\\n' }}{%- endfor %}"
        + _ANSWER
        + "{%- if add_generation_prompt and enable_thinking is defined and enable_thinking is false %}"
        "{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    ),
    # Qwen 3.5: the prompt opens a think block unless thinking is off.
    "thinks by default": (
        "{%- for m in messages %}" + _SPLIT_REASONING + "{{- '<|im_start|>' + m.role + '\\n' }}"
        "{%- if m.role == 'assistant' and loop.last %}{{- '<think>\\n' + reasoning + '\\n</think>\\n\\n' }}{%- endif %}"
        "{{- content + '<|im_end|>\\n' }}{%- endfor %}"
        + _ANSWER
        + "{%- if add_generation_prompt %}{%- if enable_thinking is defined and enable_thinking is false %}"
        "{{- '<think>\\n\\n</think>\\n\\n' }}{%- else %}{{- '<think>\\n' }}{%- endif %}{%- endif %}"
    ),
    # SmolLM 3: the mode and the date in a system message that is always there.
    "names its mode": (
        "{%- if enable_thinking is not defined %}{%- set enable_thinking = true %}{%- endif %}"
        "{%- set mode = '/think' if enable_thinking else '/no_think' %}"
        "{{- '<|im_start|>system\\nToday: ' + strftime_now('%-d %B %Y') + ', ' + mode + '\\n' }}"
        "{%- if messages[0].role == 'system' %}{{- messages[0].content }}{%- set messages = messages[1:] %}{%- endif %}"
        "{{- '<|im_end|>\\n' }}{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' }}"
        "{%- if m.role == 'assistant' and mode == '/no_think' %}{{- '<think>\\n\\n</think>\\n' }}{%- endif %}"
        "{{- m.content + '<|im_end|>\\n' }}{%- endfor %}"
        + _ANSWER
        + "{%- if add_generation_prompt and mode == '/no_think' %}{{- '<think>\\n\\n</think>\\n' }}{%- endif %}"
    ),
    # Hunyuan, Gemma 4: thinking off adds an empty block to the prompt, which a given answer does not have.
    "empty block in the prompt only": (
        "{%- for m in messages %}" + _SPLIT_REASONING + "{{- '<|im_start|>' + m.role + '\\n' + content }}"
        "{{- '<|im_end|>\\n' }}{%- endfor %}"
        + _ANSWER
        + "{%- if add_generation_prompt and enable_thinking is defined and not enable_thinking %}"
        "{{- '<think>\\n\\n</think>\\n' }}{%- endif %}"
    ),
    # DeepSeek 3.1: its own name for the switch.
    "thinking": (
        "{%- if not thinking is defined %}{%- set thinking = true %}{%- endif %}"
        "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + ('</think>' if m.role == 'assistant' else '') }}"
        "{{- m.content + '<|im_end|>\\n' }}{%- endfor %}"
        + _ANSWER
        + "{%- if add_generation_prompt %}{{- '<think>' if thinking else '</think>' }}{%- endif %}"
    ),
    # Gemma 2.
    "refuses system messages": (
        "{{- bos_token }}{%- if messages[0]['role'] == 'system' %}"
        "{{- raise_exception('System role not supported') }}{%- endif %}"
        "{%- for m in messages %}{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{%- endif %}"
        "{{- '<repo_name>' + ('model' if m['role'] == 'assistant' else 'user') + '\\n' + m['content'] | trim }}"
        "{{- '<|im_end|>\\n' }}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<repo_name>model\\n' }}{%- endif %}"
    ),
    # Mistral 0.1 and 0.2.
    "wants roles to alternate": (
        "{{- bos_token }}{%- for m in messages %}{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{%- endif %}"
        "{%- if m['role'] == 'user' %}{{- '[INST] ' + m['content'] + ' [/INST]' }}"
        "{%- elif m['role'] == 'assistant' %}{{- ' ' + m['content'] + '<|im_end|>' }}{%- endif %}{%- endfor %}"
    ),
    # Mistral 0.3: the system message stands in the last message of the user, if no answer follows.
    "moves system messages": (
        "{{- bos_token }}{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] %}"
        "{%- set turns = messages[1:] %}{%- else %}{%- set turns = messages %}{%- endif %}"
        "{%- for m in turns %}{%- if m['role'] == 'user' %}{%- if loop.last and system is defined %}"
        "{{- '[INST] ' + system + '\\n\\n' + m['content'] + '[/INST]' }}{%- else %}"
        "{{- '[INST] ' + m['content'] + '[/INST]' }}{%- endif %}"
        "{%- else %}{{- ' ' + m['content'] + '<|im_end|>' }}{%- endif %}{%- endfor %}"
    ),
    # Phi-3-medium.
    "drops system messages": (
        "{%- for m in messages %}{%- if m['role'] == 'user' %}"
        "{{- '<|im_start|>user\\n' + m['content'] + '<|im_end|>\\n<|im_start|>assistant\\n' }}"
        "{%- elif m['role'] == 'assistant' %}{{- m['content'] + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}"
    ),
    # Gemma 3: it folds the system message itself.
    "folds system messages": (
        "{{- bos_token }}{%- set first = '' %}{%- if messages[0]['role'] == 'system' %}"
        "{%- set first = messages[0]['content'] + '\\n\\n' %}{%- set messages = messages[1:] %}{%- endif %}"
        "{%- for m in messages %}{{- '<repo_name>' + ('model' if m['role'] == 'assistant' else 'user') + '\\n' }}"
        "{{- (first if loop.first else '') + m['content'] + '<|im_end|>\\n' }}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<repo_name>model\\n' }}{%- endif %}"
    ),
}
"""By what is particular about them."""

ALWAYS_THINKS = (
    "{%- for m in messages %}" + _SPLIT_REASONING + "{{- '<|im_start|>' + m.role + '\\n' + content + '<|im_end|>\\n' }}"
    "{%- endfor %}" + _ANSWER + "{%- if add_generation_prompt %}{{- '<think>\\n' }}{%- endif %}"
)
"""QwQ, DeepSeek R1: it opens a think block that no argument turns off, and drops reasoning from given answers."""
