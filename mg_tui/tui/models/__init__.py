"""The models of this machine, as the dashboard lists them."""
