"""Conversion of datasets between formats and layouts; `mg_tui.data.convert.converter` runs one."""
