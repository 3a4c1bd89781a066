"""How two models are compared: tensor errors and the table of limits with their sources."""
