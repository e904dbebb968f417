"""Scripts that make the bundles which the app opens; see the README."""
