"""The page, one module a tab; Gradio is imported here and in app.py only."""
