"""The commands of `smp`, one module per noun."""
