"""Widgets of the list of models, of chats and of evaluations."""
