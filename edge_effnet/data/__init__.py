"""Data that ships with the package.

``imagenet_labels.txt``: the 1,000 classes of ILSVRC 2012 in index order, each the first WordNet 3.0
lemma of its synset; 134 and 517 (two cranes) and 639 (a second maillot) are told apart.
"""
