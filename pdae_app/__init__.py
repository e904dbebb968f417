"""PDAE as a product: a handle to edit a photograph by, on a frozen diffusion model."""

from pdae_app.engine import Code, Editor

__all__ = ["Code", "Editor"]
__version__ = "0.1.0"
