"""Questions that differ in one word of a closed class are told apart; other words are served."""

import pytest

from costguard_core.cache.semantic.decision import Neighbour, guarded

FLIPS = [
    ("How do I make a payment?", "How do I schedule a payment?"),
    ("Is the blue one available?", "Can I order the blue one?"),
    ("Can I create templates?", "Can I use templates?"),
    ("Is PayPal accepted for refunds?", "Can I pay with PayPal?"),
    ("Is PayPal accepted?", "Must I pay with PayPal?"),
    ("Do I get a copy?", "Do I keep a copy?"),
    ("Can I return shoes?", "Must I return shoes?"),
    ("May I smoke on the balcony?", "Should I smoke on the balcony?"),
    ("Do I need a visa for Japan?", "Can I get a visa for Japan?"),
    ("Is a deposit required?", "Is a deposit refundable?"),
    ("Was the service down?", "Is the service down?"),
    ("Did the fees change?", "Will the fees change?"),
    ("Have the rules changed?", "Do the rules change?"),
    ("Do all plans include support?", "Do some plans include support?"),
    ("Do both plans include support?", "Does either plan include support?"),
    ("Do you deliver every day?", "Do you deliver some days?"),
    ("How many users can I add?", "How many users must I add?"),
    ("Who pays the tax?", "What is the tax?"),
    ("Whose tax is paid?", "Who pays tax?"),
    ("How long is the warranty?", "How much is the warranty?"),
    ("How often is the meter read?", "How is the meter read?"),
    ("Which card do you accept?", "Do you accept a card?"),
    ("How do I convert PDF to Word?", "How do I convert Word to PDF?"),
    ("How do I move from Basic to Pro?", "How do I move from Pro to Basic?"),
    ("Is Pro cheaper than Basic?", "Is Basic cheaper than Pro?"),
    ("is a tablet better than a laptop", "is a laptop better than a tablet"),
    ("How do I import contacts into Outlook from Gmail?", "How do I import contacts into Gmail from Outlook?"),
    ("How do I encrypt a file?", "How do I decrypt a file?"),
    ("How do I install the app?", "How do I uninstall the app?"),
    ("How do I register a device?", "How do I deregister a device?"),
    ("How do I subscribe to the newsletter?", "How do I unsubscribe from the newsletter?"),
    ("How do I connect the printer?", "How do I disconnect the printer?"),
    ("Is the food safe before opening?", "Is the food safe after opening?"),
    ("What is onboarding?", "What is offboarding?"),
    ("How do I lock my account?", "How do I unlock my account?"),
    ("How do I include VAT?", "How do I exclude VAT?"),
    ("Can I pay in advance?", "Can I pay in arrears?"),
    ("Take 5 mg daily?", "Take 5 mcg daily?"),
    ("How long is 5 km?", "How long is 5 miles?"),
    ("Is 20 minutes enough?", "Is 20 seconds enough?"),
    ("Do you have it in size M?", "Do you have it in size L?"),
    ("Do you have size small?", "Do you have size large?"),
    ("Is it 2 MB or less?", "Is it 2 GB or less?"),
    ("Are upgrades free within 30 days?", "Are upgrades free within 30 months?"),
    ("Who can approve leave?", "Who can request leave?"),
    ("Is the limit at least 5?", "Is the limit at most 5?"),
    ("Are drinks included?", "Are drinks excluded?"),
    ("Is there a maximum stay?", "Is there a minimum stay?"),
    ("Can I cancel before the trip?", "Can I cancel during the trip?"),
    ("Are the first 3 months free?", "Are the last 3 months free?"),
    ("Who is the buyer's agent?", "Who is the seller's agent?"),
    ("How do I increase the font?", "How do I decrease the font?"),
    ("What does the plan cost with tax?", "What does the plan cost without tax?"),
    ("Is it legal to record calls?", "Is it illegal to record calls?"),
    ("Do I have to sign up?", "Do I get to sign up?"),
    ("How do I turn notifications on?", "How do I turn notifications off?"),
    ("Can more than one person log in?", "Can only one person log in?"),
    ("Does the trial ever end?", "When does the trial end?"),
    ("When does it start?", "When does it end?"),
    ("What is the earliest check-in?", "What is the latest check-in?"),
    ("What is included?", "What is not included?"),
    ("Can children under 12 enter?", "Can children over 12 enter?"),
    ("Do most banks charge?", "Do few banks charge?"),
    ("Would you lend me money?", "Would you borrow me money?"),
    ("Is EC2 cheaper?", "Is EC3 cheaper?"),
    ("Does IPv4 work?", "Does IPv6 work?"),
    ("Do I apply for H1B?", "Do I apply for H4?"),
    ("Where is the office?", "When is the office?"),
    ("What do I do if it works?", "What do I do if it fails?"),
    ("Is my order shipped from Berlin?", "Is my order shipped to Berlin?"),
    ("How do I move shares out of my portfolio?", "How do I move shares into my portfolio?"),
    ("Can I fly with a cat?", "Can I fly without a cat?"),
    ("Does it ship on weekdays?", "Does it ship on weekends?"),
    ("Is the fee paid per user?", "Is the fee paid per team?"),
    ("What happens if I pay late?", "What happens if I pay early?"),
    ("Which is heavier, gold or silver?", "Which is lighter, gold or silver?"),
    ("Am I allowed to work?", "Am I required to work?"),
    ("Why was it refunded?", "Was it refunded?"),
    ("How was it made?", "Why was it made?"),
    ("I have to pay when?", "I have to pay why?"),
    ("Is sharing permitted?", "Is sharing prohibited?"),
]

SAME = [
    ("How do I get a copy of my payslip?", "How do I request a copy of my payslip?"),
    ("How do I submit a meter reading?", "How do I send you a meter reading?"),
    ("How do I get a permit for my street?", "How do I get a permit for my road?"),
    ("Hiya, how do I apply for a loan?", "How do I apply for a loan?"),
    ("Can I pay with PayPal?", "Is PayPal accepted?"),
    ("Do you take credit cards?", "Are credit cards accepted?"),
    ("How can I reset my password?", "What do I do to reset my password?"),
    ("Is there a delivery fee?", "Do you charge for delivery?"),
    ("How do I cancel?", "What is the way to cancel?"),
    ("When do you open?", "What time do you open?"),
    ("Can I bring my dog?", "Are dogs allowed?"),
    ("Where can I find my invoice?", "Where do I find my invoices?"),
    ("How do I contact support?", "How can I reach support?"),
    ("Is EC2 supported?", "Do you support EC2?"),
    ("Does IPv6 work?", "Does it work with IPv6?"),
    ("Is shipping free?", "Do you ship for free?"),
    ("How long does shipping take?", "How long will shipping take?"),
    ("Who do I contact about billing?", "Whom should I contact about billing?"),
    ("Is parking available?", "Is there parking?"),
    ("How do I get a refund?", "How can I obtain a refund?"),
    ("How do I close my account?", "How can my account be closed?"),
    ("Can I change my email address?", "How can I change my email address?"),
    ("Do you ship to Canada?", "Is it possible to ship to Canada?"),
    ("What is your return policy?", "What's the return policy?"),
    ("How do I download my data?", "how to download my data"),
    ("Could you tell me how to upgrade my plan?", "How do I upgrade my plan?"),
    ("Are there any discounts for students?", "Is there a student discount?"),
]


def served(a, b):
    return guarded(a, [Neighbour("x", b, 0.99, "g")], threshold=0.9).hit


@pytest.mark.parametrize(("a", "b"), FLIPS)
def test_another_question_is_not_served(a, b):
    assert not served(a, b)
    assert not served(b, a)


@pytest.mark.parametrize(("a", "b"), SAME)
def test_other_words_are_served(a, b):
    assert served(a, b)
    assert served(b, a)
