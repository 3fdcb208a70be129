"""Attacks on kddim: bad arguments, bad files, full disks, kills, and what is left afterwards.

`python -m faults` runs them and writes a table of areas by outcomes. `faults.attack` defines
an attack, `faults.box` runs the commands of one in a folder of its own, and `faults.areas`
lists them all.
"""
