"""Pictures among the parts of a message's content, in OpenAI's form."""

from __future__ import annotations

from typing import Any

from distillery_api.runtime.picture_parts import PICTURE_MARK
from distillery_trainer.data.formats.conversation import InvalidRow, is_picture, plain_text
from distillery_trainer.data.rows import Message


def message_of_parts(number: int, role: str, content: Any) -> Message:
    """A message whose content may be a list of parts. In place of names, `pictures` has the addresses that stand there,
    until the row's reader has read what they lead to. Raises InvalidRow."""
    if not isinstance(content, list) or not any(map(is_picture, content)):
        return {"role": role, "content": plain_text(content)}
    where = f"message {number}: "
    if role != "user":
        raise InvalidRow(f"{where}only the user's messages may have pictures; remove those of the {role}")
    texts, addresses = [], []
    for part in content:
        if is_picture(part):
            addresses.append(_address(where, part))
            texts.append(PICTURE_MARK)
            continue
        text = plain_text([part])
        if PICTURE_MARK in text:
            raise InvalidRow(f"{where}the text has the character U+FFFC, which stands for a picture; remove it")
        texts.append(text)
    return {"role": role, "content": "".join(texts), "pictures": addresses}


def _address(where: str, part: dict[str, Any]) -> str:
    """The address in a part; how closely a server is to look at the picture (`detail`) is that server's own."""
    found = part.get("image_url")
    address = found.get("url") if isinstance(found, dict) else found
    if not isinstance(address, str) or not address.strip():
        raise InvalidRow(f'{where}a picture without address; write {{"type": "image_url", "image_url": {{"url": …}}}}')
    return address
