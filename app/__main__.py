"""`python -m app`."""

try:
    from app.cli import main
except ImportError as error:
    raise SystemExit(f"error: {error.name} cannot be imported; run: pip install -r app/requirements.txt") from None

raise SystemExit(main())
