"""The page of ``--preview http``: live picture, predictions and controls."""
