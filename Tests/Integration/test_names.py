# A hundred commands race for one username, in mixed case and width, and for what looks like it: one
# wins.

import unittest

from harness import Gatehouse, seeded

NAME = "grace-hopper"
RACERS = 100


def spelling(random):
    """NAME or what looks like it, with every letter in a random case and width."""
    def letter(character):
        if character == "o":
            character = random.choice("o0")
        if not character.isalpha():
            return character
        character = random.choice([character, character.upper()])
        return random.choice([character, chr(ord(character) + 0xFEE0)])  # the fullwidth form
    return "".join(map(letter, NAME))


class Names(unittest.TestCase):
    def race(self, gatehouse):
        random = seeded(self)
        racers = [gatehouse.popen("users", "add", spelling(random)) for _ in range(RACERS)]
        results = [(racer.communicate(timeout=120), racer.returncode) for racer in racers]
        codes = sorted(code for _, code in results)
        self.assertEqual(codes, [0] + [1] * (RACERS - 1), results)
        names = [user["username"] for user in gatehouse.json("users", "list")["users"]]
        self.assertEqual([name.replace("0", "o") for name in names], [NAME])

    def test_one_of_a_hundred_wins_beside_a_server(self):
        self.race(Gatehouse(self).start())

    def test_one_of_a_hundred_wins_without_a_server(self):
        self.race(Gatehouse(self).make_store())
