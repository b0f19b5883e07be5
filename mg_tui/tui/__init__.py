"""The dashboard, on Textual. It reads runs, datasets and models; runs never depend on it.

app         the application: places, signals, navigation; base_app: what screens use of it
actions     the registry of actions: keys, footer, help, palette and the table of the documentation come from it
screens/    a module for each screen; widgets/ mirrors it, with shared widgets at its top
runs/, datasets/, models/, new/   what is neither screen nor widget, by subject: threads, views, commands
feeds       threads that read and post messages; engine_client: a client of an engine program
formatting, text_charts, braille, half_cells   numbers, sparklines, curves and images as text
theme       colors by meaning
"""
