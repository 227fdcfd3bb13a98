"""Chat templates in the form of the families' own, written for these tests: what they put before, between and after
messages, what they refuse, and what they decide by themselves."""

from __future__ import annotations

_MUST_ALTERNATE = (
    "{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{%- endif %}"
)
_CHATML_TURN = "{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
_CHATML_ANSWER = "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
_ANSWER_AFTER_THINKING = """
{%- set content = m.content %}
{%- if m.role == 'assistant' and '</think>' in content %}
{%- set content = content.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
"""
_NO_THINKING = "{{- '<think>\\n\\n</think>\\n\\n' }}"

# Writes a system message in any case, with today's date.
LLAMA_3 = """\
{{- bos_token }}
{%- if not date_string is defined %}{%- if strftime_now is defined %}{%- set date_string = strftime_now("%d %b %Y") %}
{%- else %}{%- set date_string = "26 Jul 2024" %}{%- endif %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content'] | trim %}
{%- set messages = messages[1:] %}{%- else %}{%- set system_message = "" %}{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" + system_message + "<|eot_id|>" }}
{%- for m in messages %}
{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}
"""

# Ends a whole conversation with a token of its own, after the one that ends the turn.
PHI_3 = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{'<|system|>\\n' + m['content'] + '<|end|>\\n'}}"
    "{% elif m['role'] == 'user' %}{{'<|user|>\\n' + m['content'] + '<|end|>\\n'}}"
    "{% elif m['role'] == 'assistant' %}{{'<|assistant|>\\n' + m['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
)
PHI_4_MINI = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"
)

# A system message of the family's own, where there is none.
QWEN_2_5 = (
    "{%- if messages[0]['role'] != 'system' %}"
    "{{- '<|im_start|>system\\nYou are Qwen, a helpful assistant.<|im_end|>\\n' }}{%- endif %}"
    "{%- for m in messages %}" + _CHATML_TURN + "{%- endfor %}" + _CHATML_ANSWER
)
SMOLLM_2 = QWEN_2_5.replace("You are Qwen, a helpful assistant.", "You are a helpful assistant named SmolLM.")

# An empty think block in the last answer; in a prompt, only where thinking is turned off.
QWEN_3 = (
    "{%- for m in messages %}" + _ANSWER_AFTER_THINKING + "{{- '<|im_start|>' + m.role + '\\n' }}"
    "{%- if m.role == 'assistant' and loop.last %}" + _NO_THINKING + "{%- endif %}"
    "{{- content + '<|im_end|>\\n' }}{%- endfor %}"
    + _CHATML_ANSWER
    + "{%- if add_generation_prompt and enable_thinking is defined and enable_thinking is false %}"
    + _NO_THINKING
    + "{%- endif %}"
)
# The prompt opens a think block, unless thinking is turned off.
QWEN_3_5 = QWEN_3.replace(
    "{%- if add_generation_prompt and enable_thinking is defined and enable_thinking is false %}" + _NO_THINKING,
    "{%- if add_generation_prompt and not (enable_thinking is defined and enable_thinking is false) %}"
    "{{- '<think>\\n' }}{%- elif add_generation_prompt %}" + _NO_THINKING,
)

# Refuses system messages.
GEMMA_2 = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}" + _MUST_ALTERNATE + "{% if m['role'] == 'assistant' %}{% set role = 'model' %}"
    "{% else %}{% set role = m['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\\n' + m['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
# Takes the text of a system message into the first turn itself.
GEMMA_3 = (
    "{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}"
    "{%- if messages[0]['content'] is string -%}{%- set first = messages[0]['content'] + '\\n\\n' -%}"
    "{%- else -%}{%- set first = messages[0]['content'][0]['text'] + '\\n\\n' -%}{%- endif -%}"
    "{%- set turns = messages[1:] -%}{%- else -%}{%- set first = '' -%}{%- set turns = messages -%}{%- endif -%}"
    "{%- for m in turns -%}" + _MUST_ALTERNATE + "{%- set role = 'model' if m['role'] == 'assistant' else m['role'] -%}"
    "{{ '<start_of_turn>' + role + '\\n' + (first if loop.first else '') }}"
    "{%- if m['content'] is string -%}{{ m['content'] | trim }}{%- else -%}{%- for part in m['content'] -%}"
    "{%- if part['type'] == 'image' -%}{{ '<start_of_image>' }}{%- else -%}{{ part['text'] | trim }}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}{{ '<end_of_turn>\\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}"
)

# No system messages, and no mark before an answer.
MISTRAL_0_1 = (
    "{{ bos_token }}{% for m in messages %}" + _MUST_ALTERNATE + "{% if m['role'] == 'user' %}"
    "{{ '[INST] ' + m['content'] + ' [/INST]' }}{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}"
)
# The system message stands in the last turn of the user, if no answer follows.
MISTRAL_0_3 = (
    "{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] %}"
    "{%- set turns = messages[1:] %}{%- else %}{%- set turns = messages %}{%- endif %}{{- bos_token }}"
    "{%- for m in turns %}{%- if m['role'] == 'user' %}{%- if loop.last and system is defined %}"
    "{{- '[INST] ' + system + '\\n\\n' + m['content'] + '[/INST]' }}{%- else %}"
    "{{- '[INST] ' + m['content'] + '[/INST]' }}{%- endif %}{%- else %}{{- ' ' + m['content'] | trim + eos_token }}"
    "{%- endif %}{%- endfor %}"
)

# A system message in any case, with today's date and whether the model thinks.
SMOLLM_3 = (
    "{%- if enable_thinking is not defined %}{%- set enable_thinking = true %}{%- endif %}"
    "{%- set mode = '/think' if enable_thinking else '/no_think' %}"
    "{{- '<|im_start|>system\\n## Metadata\\n\\nToday Date: ' + strftime_now('%d %B %Y') }}"
    "{{- '\\nReasoning Mode: ' + mode + '\\n\\n## Custom Instructions\\n\\n' }}"
    "{%- if messages[0].role == 'system' %}{{- messages[0].content }}{%- set messages = messages[1:] %}{%- endif %}"
    "{{- '<|im_end|>\\n' }}{%- for m in messages %}{%- if m.role == 'user' %}" + _CHATML_TURN + "{%- else %}"
    "{{- '<|im_start|>assistant\\n' }}{%- if mode == '/no_think' %}{{- '<think>\\n\\n</think>\\n' }}{%- endif %}"
    "{{- m.content + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}{%- if add_generation_prompt %}"
    "{{- '<|im_start|>assistant\\n' + ('<think>\\n\\n</think>\\n' if mode == '/no_think' else '') }}{%- endif %}"
)

GRANITE_3 = (
    "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content'] %}"
    "{%- set turns = messages[1:] %}{%- else %}{%- set turns = messages %}"
    '{%- set system_message = "Knowledge Cutoff Date: April 2024.\\nToday\'s Date: " + strftime_now("%B %d, %Y")'
    ' + ".\\nYou are Granite." %}{%- if thinking %}{%- set system_message = system_message + " Think first." %}'
    "{%- endif %}{%- endif %}"
    "{{- '<|start_of_role|>system<|end_of_role|>' + system_message + '<|end_of_text|>\\n' }}"
    "{%- for m in turns %}{{- '<|start_of_role|>' + m['role'] + '<|end_of_role|>' + m['content'] }}"
    "{{- '<|end_of_text|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_of_role|>assistant<|end_of_role|>' }}{%- endif %}"
)
GRANITE_4 = (
    "{%- for m in messages %}{{- '<|start_of_role|>' + m['role'] + '<|end_of_role|>' + m['content'] }}"
    "{{- '<|end_of_text|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_of_role|>assistant<|end_of_role|>' }}{%- endif %}"
)

# Ends an answer with the token that ends a text, without a line break at the end.
OLMO_2 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}"
    "{{ '<|assistant|>\\n' + m['content'] + eos_token + ('' if loop.last else '\\n') }}{% else %}"
    "{{ '<|' + m['role'] + '|>\\n' + m['content'] + '\\n' }}{% endif %}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}{% endfor %}"
)

CHATML = "{%- for m in messages %}" + _CHATML_TURN + "{%- endfor %}" + _CHATML_ANSWER
CHATML_AFTER_BOS = "{{- bos_token }}" + CHATML

# A prompt ends where the model chooses a channel; a given answer stands in the last one.
GPT_OSS = (
    "{{- '<|start|>system<|message|>You are a model.\\nCurrent date: ' + strftime_now('%Y-%m-%d') }}"
    "{{- '\\n\\nReasoning: medium<|end|>' }}{%- for m in messages %}{%- if m.role == 'system' %}"
    "{{- '<|start|>developer<|message|># Instructions\\n\\n' + m.content + '<|end|>' }}"
    "{%- elif m.role == 'user' %}{{- '<|start|>user<|message|>' + m.content + '<|end|>' }}{%- else %}"
    "{{- '<|start|>assistant<|channel|>final<|message|>' + m.content }}"
    "{{- '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start|>assistant' }}{%- endif %}"
)

# Parts of a message in their order, each picture between two tokens of its own.
QWEN_2_5_VL = (
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' }}{%- if m.content is string %}{{- m.content }}"
    "{%- else %}{%- for part in m.content %}{%- if part.type == 'image' %}"
    "{{- '<|vision_start|><|image_pad|><|vision_end|>' }}{%- else %}{{- part.text }}{%- endif %}{%- endfor %}"
    "{%- endif %}{{- '<|im_end|>\\n' }}{%- endfor %}" + _CHATML_ANSWER
)
# All pictures of a message before its texts.
LLAVA = (
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' }}{%- if m.content is string %}{{- m.content }}"
    "{%- else %}{%- for part in m.content %}{%- if part.type == 'image' %}{{- '<image>\\n' }}{%- endif %}{%- endfor %}"
    "{%- for part in m.content %}{%- if part.type == 'text' %}{{- part.text }}{%- endif %}{%- endfor %}{%- endif %}"
    "{{- '<|im_end|>\\n' }}{%- endfor %}" + _CHATML_ANSWER
)
