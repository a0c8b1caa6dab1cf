"""The page of ``--preview http``: live picture, predictions, controls."""
