# Sixty-four commands race for one username, in mixed case and width: one wins.

import unittest

from harness import Gatehouse, seeded

NAME = "grace-hopper"
RACERS = 64


def spelling(random):
    """NAME with every letter in a random case and width."""
    def letter(character):
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
        self.assertEqual(names, [NAME])

    def test_one_of_sixty_four_wins_beside_a_server(self):
        self.race(Gatehouse(self).start())

    def test_one_of_sixty_four_wins_without_a_server(self):
        self.race(Gatehouse(self).make_store())
