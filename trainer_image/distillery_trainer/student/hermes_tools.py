"""The Hermes form of tools for any chat template: a prelude before the family's own, saved with the student like
the rest of its rendering (`chat_template.py`). It turns tools, calls and results into the texts of system, assistant
and user messages, which every template can write."""

from __future__ import annotations

HERMES_TOOLS = """\
{%- macro distillery_words(parts) %}
{%- if parts is string %}{{- parts }}{%- elif parts %}
{%- for part in parts %}{{- part['text'] }}{%- endfor %}{%- endif %}
{%- endmacro %}
{%- if tools %}
{%- set distillery = namespace(system='', turns=[]) %}
{%- for message in messages %}
{%- set words = distillery_words(message['content']) %}
{%- if message['role'] == 'system' %}
{%- set distillery.system = distillery.system + words %}
{%- elif message['role'] == 'tool' %}
{%- set result = '<tool_response>\\n' + words + '\\n</tool_response>' %}
{%- if loop.previtem is defined and loop.previtem['role'] == 'tool' %}
{%- set result = distillery.turns[-1]['content'] + '\\n' + result %}
{%- set distillery.turns = distillery.turns[:-1] %}
{%- endif %}
{%- set distillery.turns = distillery.turns + [{'role': 'user', 'content': result}] %}
{%- elif message['tool_calls'] %}
{%- set said = namespace(text=words) %}
{%- for call in message['tool_calls'] %}
{%- set called = call['function'] or call %}
{%- set arguments = called['arguments'] if called['arguments'] is string else called['arguments'] | tojson %}
{%- set written = '{"name": ' + (called['name'] | tojson) + ', "arguments": ' + arguments + '}' %}
{%- set said.text = said.text + ('\\n' if said.text else '') + '<tool_call>\\n' + written + '\\n</tool_call>' %}
{%- endfor %}
{%- set distillery.turns = distillery.turns + [{'role': 'assistant', 'content': said.text}] %}
{%- else %}
{%- set distillery.turns = distillery.turns + [{'role': message['role'], 'content': words}] %}
{%- endif %}
{%- endfor %}
{%- set described = namespace(text='') %}
{%- for tool in tools %}
{%- set described.text = described.text + (tool | tojson) + '\\n' %}
{%- endfor %}
{%- set distillery.system = distillery.system + ('\\n\\n' if distillery.system else '')
    + 'You can call these functions:\\n<tools>\\n' + described.text + '</tools>\\n'
    + 'Write each call as JSON between marks:\\n'
    + '<tool_call>\\n{"name": "FUNCTION", "arguments": {"ARGUMENT": "value"}}\\n</tool_call>' %}
{%- set messages = [{'role': 'system', 'content': distillery.system}] + distillery.turns %}
{%- endif %}
{%- set tools = none %}
"""
"""Statements of Jinja. Arguments that a client sends as JSON text are written as they are."""
