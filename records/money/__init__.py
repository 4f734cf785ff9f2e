"""What calls cost: a price book, and pure functions from what was measured to money and time.

price book (YAML) ─▶ Book ─┐
what a call used ─▶ CallUse ┴▶ CallCost (lines) ─▶ TaxReport of many calls
"""
