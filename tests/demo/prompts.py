# SPDX-License-Identifier: GPL-2.0-only
"""What the demo's clients are asked."""

CHAT = [
    "Why is the sky blue? Answer in three sentences.",
    "Name three things that a computer's memory is used for.",
]

STORY = [
    "Once upon a time there was a lighthouse keeper who",
    "The old librarian opened the last box and found",
]

SENTENCES = [
    "The cat sleeps on the warm windowsill.",
    "Bread rises because yeast turns sugar into gas.",
    "The train to Vienna leaves from platform nine.",
    "Rain is expected in the mountains tomorrow.",
    "She repaired the bicycle's broken chain.",
    "Interest rates were raised by half a percent.",
    "The violin was made in Cremona in 1715.",
    "Salmon swim up the river to spawn.",
]

QUERIES = [
    "How will the weather be?",
    "Where do I find my connection by rail?",
    "What makes dough grow?",
    "an antique instrument",
]
