import unittest

from guestbook import Guestbook


class GuestbookTest(unittest.TestCase):
    def test_the_newest_guest_comes_first(self):
        book = Guestbook()
        book.sign("Ana")
        book.sign("Bo")
        self.assertEqual(book.names, ["Bo", "Ana"])

    def test_nobody_signs_without_a_name(self):
        with self.assertRaises(ValueError):
            Guestbook().sign("  ")

    def test_the_book_has_a_hundred_lines(self):
        book = Guestbook()
        for number in range(150):
            book.sign(f"guest {number}")
        self.assertEqual(len(book.names), 100)


if __name__ == "__main__":
    unittest.main()
