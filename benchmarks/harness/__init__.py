"""What every peer is measured with: the model, the rows and their order, the processes and what is read off them."""
