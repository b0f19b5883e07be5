"""What the places of datasets show."""
