"""What the places of models and of chat show."""
