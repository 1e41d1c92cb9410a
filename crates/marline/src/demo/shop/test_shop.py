import unittest

import shop


class ShopTest(unittest.TestCase):
    def test_a_cart_has_a_price(self):
        for cart in range(4):
            self.assertGreater(shop.price(cart), 0)

    def test_the_front_page_has_the_title(self):
        self.assertIn(shop.TITLE, shop.page())


if __name__ == "__main__":
    unittest.main()
