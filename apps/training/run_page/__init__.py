"""The page of a training run, report.html: accuracy, learning curves, mistakes, probabilities."""
