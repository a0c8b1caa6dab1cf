"""The web page of ``--preview http``: live picture, predictions and controls."""
