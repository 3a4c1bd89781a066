"""The registry of certified models: models.csv, and the table of it in a README."""
