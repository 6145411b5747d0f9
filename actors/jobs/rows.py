"""What a scrape writes of a message or a member: one flat row, with the same columns in every format."""

from __future__ import annotations

from datetime import datetime
from typing import Any

__all__ = ["MEMBER_COLUMNS", "MESSAGE_COLUMNS", "Row", "member_row", "message_row"]

Row = dict[str, str | int | bool | None]
"""A row. Times are texts in ISO 8601, UTC."""

MESSAGE_COLUMNS: dict[str, type] = {
    "id": int,
    "date": str,
    "chat_id": int,
    "sender_id": int,
    "text": str,
    "reply_to": int,
    "edited": str,
    "views": int,
    "forwards": int,
    "grouped_id": int,
    "author": str,
    "media": str,
    "service": str,
}
"""Of a message: `chat_id` and `sender_id` are marked ids, `media` and `service` TL types."""

MEMBER_COLUMNS: dict[str, type] = {
    "id": int,
    "username": str,
    "first_name": str,
    "last_name": str,
    "phone": str,
    "bot": bool,
    "deleted": bool,
    "role": str,
    "joined": str,
}
"""Of a member: `role` is the TL type of the participant; the rest as far as Telegram tells."""


def message_row(message: Any) -> Row:
    """The row of one of Telethon's messages."""
    return {
        "id": message.id,
        "date": _time(message.date),
        "chat_id": message.chat_id,
        "sender_id": message.sender_id,
        "text": getattr(message, "message", None) or "",
        "reply_to": getattr(message.reply_to, "reply_to_msg_id", None),
        "edited": _time(message.edit_date),
        "views": message.views,
        "forwards": message.forwards,
        "grouped_id": message.grouped_id,
        "author": message.post_author,
        "media": _name(message.media),
        "service": _name(message.action),
    }


def member_row(user: Any) -> Row:
    """The row of one of Telethon's users."""
    participant = getattr(user, "participant", None)
    return {
        "id": user.id,
        "username": user.username,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "phone": user.phone,
        "bot": bool(user.bot),
        "deleted": bool(user.deleted),
        "role": _name(participant),
        "joined": _time(getattr(participant, "date", None)),
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _name(value: object) -> str | None:
    return None if value is None else type(value).__name__
