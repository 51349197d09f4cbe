"""The small trained models of the embedded profile, and how they are made."""
