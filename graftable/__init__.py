"""graftable: machine learning on structure, from graphs and tables to documents and the models that read them."""

__version__ = "0.1.0"
