"""Accuracy of the package's models on published series, beside what others published."""
