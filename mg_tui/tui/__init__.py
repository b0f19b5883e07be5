"""The dashboard: a face over `runs` and `hardware`, on Textual.

app        the application: places, themes, signals; owns nothing that a run needs
actions    every action once: keys, footer, help, palette and the documentation's table come from it
feeds      threads that read journals and devices and post what they found
snapshot   what a screen shows of a run, made in a feed's thread and never changed after
screens/   one module a screen; widgets/ mirrors it, with what screens share at its top
words, draw, braille, image    numbers, sparklines, curves and images as text: pure, no Textual application needed
theme      colours, by meaning
"""
