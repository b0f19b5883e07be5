"""What the form of a new run knows, without any of its looks: values, what they would cost, and how it starts."""
