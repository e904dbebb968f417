"""PDAE as a product: a handle to edit a photograph by, on a frozen diffusion model."""

__all__ = ["Code", "Editor"]
__version__ = "0.1.0"


def __getattr__(name: str):
    """What stands in __all__, imported when asked for: `app.py` does things before torch comes."""
    if name in __all__:
        from pdae_app import engine

        return getattr(engine, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
