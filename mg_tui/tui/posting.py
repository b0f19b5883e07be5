"""Posting messages from threads."""

from textual.message import Message
from textual.message_pump import MessagePump


def post(target: MessagePump, message: Message) -> bool:
    """Post a message from any thread.

    Returns:
        False when the event loop has closed: the thread has nobody left to post to, and should end.
    """
    try:
        target.post_message(message)
    except RuntimeError:
        return False
    return True
