"""What pytest must not collect."""

# Doctest would import it once more under another name, and an id can be declared once only.
collect_ignore = ["fake_claims.py", "robustness/drawn_claims.py"]
