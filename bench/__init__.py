"""Measurements beside other libraries; `python -m bench` runs those that finish in minutes."""
