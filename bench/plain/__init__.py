"""The function app to compare with: a few lines around Microsoft's SDK, as its quickstart suggests."""
