/* SPDX-License-Identifier: BSD-3-Clause */
#include "io/metacert.h"

#define NAME_LEN (sizeof(METACERT_NAME) - 1)

bool metacert_key(STACK_OF(X509) * chain, struct key *key)
{
	char name[NAME_LEN + KEY_HEX_LEN + 2];
	struct key told;

	for (int i = 0; chain && i < sk_X509_num(chain); i++) {
		X509_NAME *subject = X509_get_subject_name(sk_X509_value(chain, i));
		int len = X509_NAME_get_text_by_NID(subject, NID_commonName, name, sizeof(name));

		if (len == (int)NAME_LEN + KEY_HEX_LEN &&
		    memcmp(name, METACERT_NAME, NAME_LEN) == 0 &&
		    key_unhex(name + NAME_LEN, KEY_LEN, told.b)) {
			*key = told;
			return true;
		}
	}
	return false;
}
