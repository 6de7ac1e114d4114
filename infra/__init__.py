"""The deployed resources, declared once: the template and the embedded stand-in are both made from here."""
