"""Fine-tuning of a network on labelled photos, with PyTorch and timm (extra ``train``)."""
