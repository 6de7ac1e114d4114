"""The deployed resources, declared once: the template and the emulator are both made from here."""
